# Three images: the operator (default), the reference router node (--target router) and the services
# (--target service).
#   docker build -t etl-operator:latest .
#   docker build --target router -t etl-router:latest .
#   docker build --target service -t etl-service:latest .
# Dependencies are installed before the sources are copied, so that a change of the sources does not reinstall them.
ARG PYTHON=python:3.13-slim
ARG GO=golang:1.26

# The version that the tests run, with the hashes of go.sum. A static program: it needs nothing of its image.
FROM ${GO} AS etcd
WORKDIR /src
COPY e2e/controlplane/go.mod e2e/controlplane/go.sum ./
RUN CGO_ENABLED=0 go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w -buildid=" \
    -o /etcd go.etcd.io/etcd/server/v3

FROM ${PYTHON} AS build
WORKDIR /src
# Fixed dates and a fixed hash seed: two builds of one commit give the same files.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    SOURCE_DATE_EPOCH=315532800 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
# The environment is copied below. Without pip, it has no build tools.
RUN python -m venv --without-pip /opt/venv

FROM build AS tools
COPY .ci/requirements/build.txt ./
RUN python -m pip install --require-hashes -r build.txt

FROM tools AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY informers informers
COPY controllers controllers
COPY etl_operator etl_operator
COPY config config
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

# Packages without a wheel are built with the locked tools above, not with the newest ones of an index.
FROM tools AS build-router
COPY .ci/requirements/router.txt ./
RUN python -m pip wheel --no-deps --no-build-isolation --require-hashes --wheel-dir /wheels -r router.txt \
 && python -m pip --python /opt/venv/bin/python install --no-index --no-deps --no-compile /wheels/*.whl
COPY --from=wheel /wheel /wheel
RUN python -m pip --python /opt/venv/bin/python install --no-index --no-deps --no-compile /wheel/*.whl \
 && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/venv/lib

FROM tools AS build-service
COPY .ci/requirements/service.txt ./
RUN python -m pip wheel --no-deps --no-build-isolation --require-hashes --wheel-dir /wheels -r service.txt \
 && python -m pip --python /opt/venv/bin/python install --no-index --no-deps --no-compile /wheels/*.whl
COPY --from=wheel /wheel /wheel
RUN python -m pip --python /opt/venv/bin/python install --no-index --no-deps --no-compile /wheel/*.whl \
 && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/venv/lib

FROM tools AS build-operator
COPY .ci/requirements/operator.txt ./
RUN python -m pip wheel --no-deps --no-build-isolation --require-hashes --wheel-dir /wheels -r operator.txt \
 && python -m pip --python /opt/venv/bin/python install --no-index --no-deps --no-compile /wheels/*.whl
COPY --from=wheel /wheel /wheel
RUN python -m pip --python /opt/venv/bin/python install --no-index --no-deps --no-compile /wheel/*.whl \
 && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/venv/lib

FROM ${PYTHON} AS base
# The root file system is read-only in a pod: without bytecode in the image, every start compiles the standard library.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
 && PYTHONHASHSEED=0 python -m compileall -q -f -x '/(test|idlelib|ensurepip|tkinter|turtledemo|site-packages)/' \
    --invalidation-mode unchecked-hash "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp

FROM base AS router
COPY --from=build-router /opt/venv /opt/venv
COPY --from=etcd /etcd /usr/local/bin/etcd
EXPOSE 50051 50052 50053 8080 9090
ENTRYPOINT ["etl-router"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title=etl-router \
      org.opencontainers.image.description="A node of an ETL Router cluster" \
      org.opencontainers.image.version=0.1.0 \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.licenses=Apache-2.0

FROM base AS service
COPY --from=build-service /opt/venv /opt/venv
EXPOSE 50051 8080 9090
ENTRYPOINT ["etl-service"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title=etl-service \
      org.opencontainers.image.description="Sources, transforms and sinks for ETL pipelines" \
      org.opencontainers.image.version=0.1.0 \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.licenses=Apache-2.0

FROM base AS operator
COPY --from=build-operator /opt/venv /opt/venv
# docker build --build-arg REVISION=$(git rev-parse HEAD) sets the revision in etl_operator_build_info.
ARG REVISION=""
ENV ETL_OPERATOR_REVISION=$REVISION
EXPOSE 8080 8081
ENTRYPOINT ["etl-operator"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title=etl-operator \
      org.opencontainers.image.description="Kubernetes operator for ETL Router clusters, pipelines and services" \
      org.opencontainers.image.version=0.1.0 \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.licenses=Apache-2.0
CMD ["run"]
