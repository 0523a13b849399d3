"""wattstream: energy telemetry for EV fleets. What its services share."""
