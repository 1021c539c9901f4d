# The image of a release, from the program that the release built. To build one from source, see
# examples/deploy/kubernetes/Dockerfile.
FROM gcr.io/distroless/static-debian12:nonroot
ARG TARGETPLATFORM
COPY LICENSE NOTICES.txt /usr/share/doc/jit/
COPY ${TARGETPLATFORM}/jit /usr/local/bin/jit
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/jit"]
CMD ["sweep", "--watch"]
