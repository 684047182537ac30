# Two images from one wheel: `worker` (torch, transformers) and `gateway` (small). compose.yaml builds both.
#
#   docker build --target worker --build-arg EXTRAS=worker -t warmlane-worker .
#
# EXTRAS takes several, comma-separated. pip's own settings (an index of yours, a proxy) come as build arguments too:
# --build-arg PIP_INDEX_URL=...
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
ARG PIP_INDEX_URL
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY workers workers
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS base
# Owned by the user that runs: a new named volume takes over the directory's owner.
RUN useradd --uid 10001 --create-home warmlane \
    && install --directory --owner=warmlane --group=warmlane /var/lib/warmlane-blobs /var/lib/warmlane
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# The default of WARMLANE_SOURCE_ROOTS: mount here what a save may read.
WORKDIR /sources

FROM base AS gateway
ARG PIP_INDEX_URL
ARG EXTRAS=gateway
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[${EXTRAS}]"
USER warmlane
EXPOSE 8080
CMD ["warmlane", "gateway", "--host", "0.0.0.0", "--port", "8080"]

FROM base AS worker
ARG PIP_INDEX_URL
ARG EXTRAS=worker
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[${EXTRAS}]"
USER warmlane
CMD ["warmlane", "worker", "--devices", "all"]
