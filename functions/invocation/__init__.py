"""What every function does around its work: settings, services, logs, metrics, errors, the fan-out."""
