"""The Celery app: queues, schedule, settings.

It names tasks and never imports them: it loads before the app registry.
"""
