"""The graph of a project's jobs and files: default_pipeline.star and job_pipeline.star."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.star import read_star, write_star
from relion_mpi.project.kinds import JOB_SUFFIX, NODES, PROCESSES, STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from relion_mpi.io.star import Block
    from relion_mpi.project.place import Place

_GENERAL, _COUNTER = "pipeline_general", "rlnPipeLineJobCounter"
_PROCESSES, _NODES = "pipeline_processes", "pipeline_nodes"
_IN, _OUT = "pipeline_input_edges", "pipeline_output_edges"
_PROCESS, _NODE = "rlnPipeLineProcessName", "rlnPipeLineNodeName"
_STATUS, _STATUS_LABEL = "rlnPipeLineProcessStatus", "rlnPipeLineProcessStatusLabel"
_TYPE, _TYPE_LABEL = "rlnPipeLineProcessType", "rlnPipeLineProcessTypeLabel"
_NODE_TYPE, _NODE_TYPE_LABEL = "rlnPipeLineNodeType", "rlnPipeLineNodeTypeLabel"
_DEPTH = "rlnPipeLineNodeTypeLabelDepth"
_IN_COLUMNS = ("rlnPipeLineEdgeFromNode", "rlnPipeLineEdgeProcess")
_OUT_COLUMNS = ("rlnPipeLineEdgeProcess", "rlnPipeLineEdgeToNode")
_RELION_5 = 50001
_UNKNOWN = -1


def _check_columns(path: Path, blocks: Mapping[str, Block]) -> None:
    """Refuse tables that RELION has not written, before work begins."""
    for name, choices in (
        (_PROCESSES, ((_PROCESS, _TYPE, _STATUS), (_PROCESS, _TYPE_LABEL, _STATUS_LABEL))),
        (_NODES, ((_NODE, _NODE_TYPE), (_NODE, _NODE_TYPE_LABEL))),
        (_IN, (_IN_COLUMNS,)),
        (_OUT, (_OUT_COLUMNS,)),
    ):
        table = blocks.get(name)
        columns = set(table.columns) if isinstance(table, pl.DataFrame) else set()
        if table is not None and not any(set(choice) <= columns for choice in choices):
            raise InputError(
                f"{path}: found other columns in data_{name} than {' or '.join(map(str, choices))},"
                " expected RELION's; restore the file from a job_pipeline.star"
            )


class Pipeline:
    """Jobs, files and edges, in the form of the RELION that wrote them.

    Parameters
    ----------
    blocks
        Tables of the file.
    version
        What the file says of its version: 30001, or 50001 of RELION 5.
    """

    def __init__(self, blocks: Mapping[str, Block], version: int) -> None:
        self.blocks = dict(blocks)
        self.version = version
        processes = blocks.get(_PROCESSES)
        self.has_numbers = (
            _TYPE in processes.columns
            if isinstance(processes, pl.DataFrame)
            # An empty project of 3.1 and of 4 looks the same; 4 understands numbers.
            else version < _RELION_5
        )
        """Whether kinds are numbers, as in RELION 3.1."""

    @classmethod
    def read(cls, path: Path) -> Pipeline:
        """Read a project's file.

        Parameters
        ----------
        path
            default_pipeline.star.

        Raises
        ------
        InputError
            It is no such file.
        """
        blocks = read_star(path)
        general = blocks.get(_GENERAL)
        if not isinstance(general, dict) or not str(general.get(_COUNTER, "")).isdigit():
            raise InputError(
                f"{path}: found no {_COUNTER} in data_{_GENERAL}, expected a file of RELION's "
                "pipeline; restore it from a job_pipeline.star or start the program elsewhere"
            )
        _check_columns(path, blocks)
        version = re.search(rb"^# version (\d+)", path.read_bytes(), re.MULTILINE)
        return cls(blocks, int(version[1]) if version else 30001)

    def write(self, path: Path) -> None:
        """Write the graph.

        Parameters
        ----------
        path
            File to replace.
        """
        filled = {
            name: block
            for name, block in self.blocks.items()
            if not isinstance(block, pl.DataFrame) or block.height  # RELION leaves out empty ones
        }
        write_star(path, filled, version=self.version)

    def status(self, name: str) -> int | None:
        """Return the number of a job's status; None if there is no such job."""
        rows = self._table(_PROCESSES).filter(pl.col(_PROCESS) == name)
        if not rows.height:
            return None
        if self.has_numbers:
            return int(rows[_STATUS][0])
        label = rows[_STATUS_LABEL][0]
        return STATUSES.index(label) if label in STATUSES else _UNKNOWN

    def set_job(self, place: Place, status: int) -> None:
        """Add a job, or change its status.

        Parameters
        ----------
        place
            Its folder.
        status
            Number of its status.
        """
        column = _STATUS if self.has_numbers else _STATUS_LABEL
        value = status if self.has_numbers else STATUSES[status]
        if self.status(place.name) is not None:
            changed = pl.when(pl.col(_PROCESS) == place.name).then(pl.lit(value))
            table = self._table(_PROCESSES)
            self.blocks[_PROCESSES] = table.with_columns(
                changed.otherwise(pl.col(column)).alias(column)
            )
            return
        kind = PROCESSES[place.kind]
        row: dict[str, object] = {_PROCESS: place.name, "rlnPipeLineProcessAlias": "None"}
        row |= (
            {_TYPE: kind.number, _STATUS: value} if self.has_numbers
            else {_TYPE_LABEL: kind.label, _STATUS_LABEL: value}
        )  # fmt: skip
        self._add(_PROCESSES, row)
        general = self.blocks[_GENERAL]
        assert isinstance(general, dict)
        next_number = max(int(general[_COUNTER]), place.number + 1)
        rest = {label: str(value) for label, value in general.items()}
        self.blocks[_GENERAL] = rest | {_COUNTER: str(next_number)}

    def add_inputs(self, place: Place, nodes: Iterable[tuple[str, str]]) -> None:
        """Add files that a job reads.

        Parameters
        ----------
        place
            Folder of the job.
        nodes
            Names and kinds of files (keys of `relion_mpi.project.kinds.NODES`).
        """
        for name, kind in nodes:
            if self._add_node(name, kind, ""):
                self._add_edge(_IN, _IN_COLUMNS, (name, place.name))

    def add_outputs(self, place: Place, nodes: Iterable[tuple[str, str]]) -> None:
        """Add files that a job made; see `add_inputs`."""
        suffix = JOB_SUFFIX.get(place.kind, "")
        for name, kind in nodes:
            if self._add_node(name, kind, suffix):
                self._add_edge(_OUT, _OUT_COLUMNS, (place.name, name))

    def kind_of_node(self, kind: str, suffix: str) -> int | str | None:
        """Return what this RELION calls a kind of file; None if it does not list such files."""
        node = NODES[kind]
        if self.has_numbers:
            return node.number
        label = node.label_5 if self.version >= _RELION_5 else node.label_4
        return None if label is None else label.format(job=suffix)

    def type_column(self) -> str:
        """Return the label under which kinds of files stand."""
        return _NODE_TYPE if self.has_numbers else _NODE_TYPE_LABEL

    def of_job(self, place: Place) -> Pipeline:
        """Return one job with its files alone, as RELION keeps it in the job's folder."""
        inputs = self._table(_IN).filter(pl.col(_IN_COLUMNS[1]) == place.name)
        outputs = self._table(_OUT).filter(pl.col(_OUT_COLUMNS[0]) == place.name)
        names = [*inputs[_IN_COLUMNS[0]], *outputs[_OUT_COLUMNS[1]]]
        blocks: dict[str, Block] = {
            _GENERAL: {_COUNTER: "2"},  # RELION's, whatever the job's number
            _PROCESSES: self._table(_PROCESSES).filter(pl.col(_PROCESS) == place.name),
            _NODES: self._table(_NODES).filter(pl.col(_NODE).is_in(names)),
            _IN: inputs,
            _OUT: outputs,
        }
        return Pipeline(blocks, self.version)

    def _add_node(self, name: str, kind: str, suffix: str) -> bool:
        called = self.kind_of_node(kind, suffix)
        if called is None:
            return False
        if name in self._table(_NODES)[_NODE]:
            return True
        row = {_NODE: name, self.type_column(): called}
        self._add(_NODES, row | ({_DEPTH: 1} if self.version >= _RELION_5 else {}))
        return True

    def _add_edge(self, block: str, columns: tuple[str, str], ends: tuple[str, str]) -> None:
        same = [pl.col(column) == end for column, end in zip(columns, ends, strict=True)]
        if not self._table(block).filter(same).height:
            self._add(block, dict(zip(columns, ends, strict=True)))

    def _add(self, block: str, row: Mapping[str, object]) -> None:
        table = self._table(block)
        if not table.height:
            self.blocks[block] = pl.DataFrame([row])
            return
        # A column that a later RELION may have added gets what RELION calls nothing.
        whole = {name: row.get(name, "None") for name in table.columns}
        self.blocks[block] = pl.concat([table, pl.DataFrame([whole])], how="vertical_relaxed")

    def _table(self, block: str) -> pl.DataFrame:
        found = self.blocks.get(block)
        if isinstance(found, pl.DataFrame):
            return found
        columns = {_PROCESSES: (_PROCESS,), _NODES: (_NODE,), _IN: _IN_COLUMNS, _OUT: _OUT_COLUMNS}
        return pl.DataFrame(schema=dict.fromkeys(columns[block], pl.String))
