"""The `reelbus` command. Commands import what they need when they run, so that `reelbus --help` answers at once."""

from ops.cli.app import main as main
