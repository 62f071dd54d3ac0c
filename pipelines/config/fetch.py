"""`fetch` of params.yaml: where `python -m pipelines fetch` may go."""

from pydantic import Field, field_validator

from pipelines.config.section import MORE, Section


class FetchConfig(Section):
    """Hosts beyond those that the sources state, and private ones."""

    allowed_hosts: list[str] = Field(
        json_schema_extra=MORE,
        description="names, addresses or networks (10.2.0.0/16) of web servers that sources may be "
        "fetched from although they are private, or although a site only leads there",
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if "://" in host or not host.strip():
                raise ValueError(f"{host!r} is no host: write it without https:// and path")
        return hosts
