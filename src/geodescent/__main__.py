"""`python -m geodescent`: the command."""

from geodescent.app.cli import main

if __name__ == "__main__":
    main()
