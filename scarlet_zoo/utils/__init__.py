"""Files that are never half written, jobs in processes of their own, plots and tables: what every package may use."""
