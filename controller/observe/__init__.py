"""What outsiders see of the program: logs, metrics, health."""
