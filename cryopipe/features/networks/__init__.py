"""Networks that turn boxes into features."""
