"""Pictures of performance: pure functions from the messages of the analytics service to text, SVG, PNG and HTML."""
