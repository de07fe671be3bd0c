# Two images from one file: the operator (default) and the reference router node (--target router).
#   docker build -t etl-operator:dev .
#   docker build --target router -t etl-router:latest .
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /src
# Without pip in it, the environment that is copied below brings no build tools along.
RUN python -m venv --without-pip /opt/venv
COPY pyproject.toml README.md LICENSE ./
COPY informers informers
COPY controllers controllers
COPY etl_operator etl_operator
COPY config config
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check .

FROM build AS build-router
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check '.[router]'

FROM build AS build-operator
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check '.[tracing]'

FROM ${PYTHON} AS base
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp

FROM base AS router
COPY --from=build-router /opt/venv /opt/venv
EXPOSE 50051 50052 8080 9090
ENTRYPOINT ["etl-router"]

FROM base AS operator
COPY --from=build-operator /opt/venv /opt/venv
EXPOSE 8080 8081
ENTRYPOINT ["etl-operator"]
CMD ["run"]
