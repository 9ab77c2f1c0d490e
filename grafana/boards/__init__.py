"""Spanflow's Grafana dashboards and alerts, as Python that ``generate.py`` turns into what Grafana reads."""
