"""licences.json: the licence of each pinned package, as an SPDX expression; null: it states none.

{"numpy==1.26.4": "LicenseRef-BSD", "torch==2.15.0": "Apache-2.0 AND BSD-3-Clause AND MIT",
 "torchao==0.18.0": null}
"""

from pydantic import RootModel

NOT_STATED = "not stated"  # how a licence that is null is written for people, and in gate.licences


class PackageLicences(RootModel[dict[str, str | None]]):
    """`name==version`, as infra/requirements pins it -> licence.

    `LicenseRef-` begins what SPDX has no name for, in the package's own words.
    """
