"""Standing checks of a lake in operation: `checkup` runs them, and each looks at one thing and says what repairs it."""
