# The broker in a container, without root: docs/running.md tells how it is built and run.
FROM python:3.13-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel /source

FROM python:3.13-slim
COPY --from=build /wheel /wheel
RUN pip install --no-cache-dir /wheel/*.whl \
 && rm -r /wheel \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /data hoofbeat \
 && install --directory --owner hoofbeat --group hoofbeat --mode 0700 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 61613
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD ["python", "-c", "import socket; s = socket.create_connection(('127.0.0.1', 61613), 5); s.sendall(b'CONNECT\\n\\n\\0'); assert s.recv(1)"]
ENTRYPOINT ["hoofbeat"]
CMD ["run", "--host", "0.0.0.0", "--data", "/data", "--users", "/data/users"]
