"""What all stages share: the Prefect task around a stage, retries, progress, logs."""
