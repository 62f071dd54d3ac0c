"""Names of metrics that are read outside Triton too."""

UNDER_WAY = "assistant_requests_under_way"
