"""What the program prints: cases, the grid of a backtest, progress, and what was covered."""
