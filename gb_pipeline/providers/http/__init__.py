"""This package sends requests to vendors over HTTP: with patience, within limits and quotas, and without saying credentials."""
