"""`python -m nicodec`."""

from nicodec.cli.main import run

if __name__ == "__main__":
    run()
