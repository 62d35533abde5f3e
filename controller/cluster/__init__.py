"""The one place that talks to the API server: client, informers, work queue, events."""
