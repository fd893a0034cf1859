//! Programs to copy live beside this file, a folder each; see the README for what each one shows.
