"""``python -m etl_operator.cli``, the same as ``etl-operator``."""

from etl_operator.cli.main import main

main()
