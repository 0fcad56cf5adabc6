"""Background tasks: functions that run from SQS queues."""
