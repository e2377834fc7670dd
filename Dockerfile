# syntax=docker/dockerfile:1
# The node and the web viewer, without the training libraries.
#   docker build -t pneumoscan .
# Research use only, not for diagnosis.

FROM python:3.12-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/pneumoscan \
 && /opt/pneumoscan/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check -c constraints.txt ".[node,dicom,pdf,web]"

FROM python:3.12-slim-bookworm
COPY --from=build /opt/pneumoscan /opt/pneumoscan
# The node needs no rights but those to its own folder.
RUN useradd --system --uid 10001 --no-create-home pneumoscan \
 && mkdir --mode=0700 /node && chown pneumoscan /node
ENV PATH=/opt/pneumoscan/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER pneumoscan
WORKDIR /node
VOLUME /node
STOPSIGNAL SIGTERM
ENTRYPOINT ["pneumoscan"]
CMD ["node", "run", "--config", "/etc/pneumoscan/node.toml"]
