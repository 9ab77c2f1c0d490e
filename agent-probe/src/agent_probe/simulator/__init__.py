"""Simulated AI agents that send what instrumented agents send.

Read in this order: ``agents`` (who they are), ``session`` (what one session does), ``convention`` (how each
instrumentation writes it down), ``exporter`` (how spans become Kafka records), ``engine`` (time), ``output``.
"""
