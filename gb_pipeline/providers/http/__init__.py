"""How vendors are asked over HTTP: the client, its patience, limits and quotas, and what no error may say."""
