"""The version of Lamplighter, which the wheel, `lamp --version`, the stacks' tags and the journal give."""

VERSION = "0.1.0"
