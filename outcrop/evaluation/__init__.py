"""Floor 3: metrics, statistics, comparisons, reports. No torch."""
