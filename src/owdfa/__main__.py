"""``python -m owdfa``: the command, where its name is not on the path, as for torchrun."""

from owdfa.cli.main import main

if __name__ == "__main__":
    main()
