# `python -m dermaline serve` with the released models; docs/serving.md says how to run it.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

WORKDIR /dermaline
COPY requirements.lock ./
COPY container/requirements.txt container/
# Another index of wheels beside the usual one: PyTorch's for the CPU saves the CUDA libraries.
ARG PIP_EXTRA_INDEX_URL
# The versions of all packages are the pipeline's, by the lock, and container/requirements.txt names what serving needs
# of them. Without the lock's hashes: another index has other files of the same versions.
RUN sed -n 's/ *\\$//; /^[a-z].*==/p' requirements.lock > pins.txt && \
    python -m pip install --no-cache-dir --disable-pip-version-check \
    --constraint pins.txt --requirement container/requirements.txt

COPY LICENSE params.yaml ./
COPY dermaline/ dermaline/
COPY released/ released/

# The user has no home, where Matplotlib and PyTorch look for folders, and no name, which tracing asks for.
ENV MPLCONFIGDIR=/tmp TORCHINDUCTOR_CACHE_DIR=/tmp USER=dermaline
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["python", "-c", "from http.client import HTTPConnection; \
    server = HTTPConnection('127.0.0.1', 8000, timeout=4); server.request('GET', '/ready'); \
    exit(server.getresponse().status != 200)"]
CMD ["python", "-m", "dermaline", "serve", "--host", "0.0.0.0", "--port", "8000", "--token-file", "/run/secrets/token"]
