"""A backtest in a project of its own: it reads bars that another project stores."""
