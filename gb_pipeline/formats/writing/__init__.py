"""Writers of other tools' formats, a module each; `base` says what a writer is, `exporting` what calls it."""
