"""Slow, obvious forms of the selection methods, in plain numpy and Python loops."""

from __future__ import annotations

import numpy as np


def add_rows(rows):
    """Sum over axis 0, one row after the other (numpy's order for C-ordered float64, M > 1)."""
    total = np.zeros(rows.shape[1])
    for row in rows:
        total = total + row
    return total


def zscore(matrix):
    matrix = np.asarray(matrix, dtype=np.float64)
    mean = add_rows(matrix) / len(matrix)
    return (matrix - mean) / np.sqrt(add_rows((matrix - mean) ** 2) / len(matrix))


def literal_bids(z, budget):
    """Follow METHOD.md word for word on an already normalised [N, M] float64 matrix."""
    picked, utilities, columns = [], [], []
    for _ in range(budget):
        mean = add_rows(z[picked]) / len(picked) if picked else np.zeros(z.shape[1])
        utility = z - mean
        utility[picked] = -np.inf
        row, column = np.unravel_index(utility.argmax(), utility.shape)  # the lowest row of ties
        picked.append(int(row))
        utilities.append(utility[row, column])
        columns.append(int(column))
    return picked, utilities, columns


def instance_max(z, budget):
    scores = [max(row) for row in z]
    return sorted(range(len(z)), key=lambda i: (-scores[i], i))[:budget]


def less(matrix, tasks, subtasks, budget):
    scores = []
    for row in np.asarray(matrix, dtype=np.float64):
        of_task = {}
        for task in dict.fromkeys(tasks):
            means = []
            for subtask in dict.fromkeys(subtasks):
                columns = [j for j in range(len(row)) if (tasks[j], subtasks[j]) == (task, subtask)]
                if columns:
                    means.append(np.mean(row[columns]))
            of_task[task] = max(means)
        scores.append(max(of_task.values()))
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:budget]
