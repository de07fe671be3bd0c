"""``python -m etl_operator.node``."""

from etl_operator.node.main import main

if __name__ == "__main__":
    main(prog_name="etl-router")
