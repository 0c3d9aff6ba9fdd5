"""The report over datasets: a full study of each."""
