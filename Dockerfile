# A case on a page and over HTTP, in a container; docs/container.md says how it is run.
FROM python:3.11-slim-bookworm AS build
# Others of pyproject.toml may be added, e.g. serve,formats,c2pa,video.
ARG EXTRAS=serve
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
COPY tools/container tools/container
RUN sh tools/container/install.sh /opt/owdfa "$EXTRAS"

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 owdfa \
    && useradd --uid 10001 --gid owdfa --no-create-home --home-dir /tmp --shell /usr/sbin/nologin owdfa \
    && install -d -o owdfa -g owdfa /case
COPY --from=build /opt/owdfa /opt/owdfa
ENV PATH=/opt/owdfa/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /case
VOLUME /case
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "/opt/owdfa/health.py"]
ENTRYPOINT ["owdfa"]
# Only 0.0.0.0 is reached from outside a container, so a token is needed: OWDFA_TOKEN, or the one in the log.
CMD ["serve", "/model", "--case", "/case", "--host", "0.0.0.0", "--port", "8765"]
