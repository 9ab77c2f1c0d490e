"""Spanflow's Python side. Today it holds the agent simulator, :mod:`agent_probe.simulator`."""
