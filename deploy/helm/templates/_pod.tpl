{{- define "gb.name" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "gb.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "gb.labels" -}}
{{ include "gb.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "gb.secretVariable" -}}
valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}}
{{- end }}

{{- /*
A Deployment of one part. Arguments: root, part, command, replicas, strategy, grace; settings: the part's values; lake: whether it
works on the lake and gets its volume and credentials; container: more of the container, such as ports and probes.
*/ -}}
{{- define "gb.deployment" -}}
{{- $values := .root.Values }}
{{- $name := include "gb.name" .root }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}-{{ .part }}
  labels: {{- include "gb.labels" . | nindent 4 }}
spec:
  replicas: {{ .replicas }}
  strategy: {type: {{ .strategy }}}
  selector:
    matchLabels: {{- include "gb.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "gb.labels" . | nindent 8 }}
      annotations:
        # Pods start anew when a file of the project changes.
        checksum/project: {{ toJson $values.project | sha256sum }}
    spec:
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: false
      # Else the name of every service of the namespace makes variables, and a release called `gb` such that begin with GB_.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ .grace }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
      {{- with $values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . | quote }}
        {{- end }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .part }}
          image: {{ printf "%s:%s" $values.image.repository ($values.image.tag | default .root.Chart.AppVersion) | quote }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          args: {{ toJson .command }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources: {{- toYaml .settings.resources | nindent 12 }}
          {{- with .container }}
          {{- . | nindent 10 }}
          {{- end }}
          env:
            - {name: DAGSTER_POSTGRES_HOST, value: {{ $values.postgres.host | quote }}}
            - {name: DAGSTER_POSTGRES_DB, value: {{ $values.postgres.database | quote }}}
            - {name: DAGSTER_POSTGRES_USER, value: {{ $values.postgres.user | quote }}}
            - name: DAGSTER_POSTGRES_PASSWORD
              {{- include "gb.secretVariable" $values.postgres.password | nindent 14 }}
            {{- if $values.workers.broker.secret }}
            - name: GB_BROKER
              {{- include "gb.secretVariable" $values.workers.broker | nindent 14 }}
            {{- end }}
            {{- if .lake }}
            - {name: GB_PAGE, value: "http://{{ $name }}-page:3000"}
            {{- if and $values.volume.enabled (eq .part "code") }}
            - {name: GB_STATE, value: /lake/state}
            {{- end }}
            {{- end }}
          {{- if and .lake $values.credentials }}
          envFrom:
            {{- range $values.credentials }}
            - secretRef: {name: {{ . | quote }}}
            {{- end }}
          {{- end }}
          volumeMounts:
            - {name: home, mountPath: /home/gb}
            - {name: dagster, mountPath: /project/.dagster}
            - {name: tmp, mountPath: /tmp}
            {{- range $file, $_ := $values.project }}
            - {name: project, mountPath: {{ printf "/project/%s" $file | quote }}, subPath: {{ $file | quote }}, readOnly: true}
            {{- end }}
            {{- if and $values.volume.enabled (eq .part "code") }}
            - {name: lake, mountPath: /lake}
            {{- end }}
      volumes:
        - {name: home, emptyDir: {}}
        - {name: dagster, emptyDir: {}}
        - {name: tmp, emptyDir: {}}
        {{- if $values.project }}
        - {name: project, configMap: {name: {{ $name }}-project}}
        {{- end }}
        {{- if and $values.volume.enabled (eq .part "code") }}
        - {name: lake, persistentVolumeClaim: {claimName: {{ $values.volume.claim | default (printf "%s-lake" $name) | quote }}}}
        {{- end }}
{{- end }}
