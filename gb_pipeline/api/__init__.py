"""What other programs and browsers ask of a lake over HTTP: bars, evidence, SQL and uploads below `/v1`.

`app` puts the parts together and `serving` runs them; `guard` lets a request through or refuses it, `tokens` knows who may do what.
"""
