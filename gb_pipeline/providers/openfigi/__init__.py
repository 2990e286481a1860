"""OpenFIGI, which says of tickers and ISINs what their FIGIs are: the mapping API, version 3."""
