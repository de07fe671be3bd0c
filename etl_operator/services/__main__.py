"""``python -m etl_operator.services``."""

from etl_operator.services.main import main

if __name__ == "__main__":
    main(prog_name="etl-service")
