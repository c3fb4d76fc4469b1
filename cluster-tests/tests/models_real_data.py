"""Steps and answers for models_real_data.rs: what to load, what to ask, and what plain Python makes of the same files.

Prints one JSON object a line: `name`, `command` (of outcrop), `stdin` if it has one, `answer` if it is looked at. In an
answer `{"$between": [low, high]}` stands for a number within; `rows` says that the output is rows in any order.
"""

import csv
import datetime
import json
import math
import os
import statistics
import sys

DATA = sys.argv[1]
DAY_MS = 86_400_000
SPAN_MS = 90 * DAY_MS


def step(name, command, stdin=None, **more):
    out = {"name": name, "command": command, **more}
    if stdin is not None:
        out["stdin"] = json.dumps(stdin)
    print(json.dumps(out))


def between(values, percent, slack):
    """The values that lie `slack` percent of all below and above a percentile."""
    ordered = sorted(values)
    place = lambda p: ordered[min(max(int(p / 100 * (len(ordered) - 1)), 0), len(ordered) - 1)]
    return {"$between": [place(percent - slack), place(percent + slack)]}


def percentile(values, percent):
    ordered = sorted(values)
    place = percent / 100 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def load(name):
    path = os.path.join(DATA, "documents", name + ".json")
    step(f"load {name}", ["import", path, "--into", f"test/{name}", "--key", "id"])
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def aggregate(name, where, function, arguments, answer):
    step(name, ["aggregate", f"test/{where}", function, "-"], arguments, answer=answer)


def rows(name, where, function, arguments, answer):
    step(name, ["rows", f"test/{where}", function, "-"], arguments, answer=answer, rows=True)


def documents(stores, categories):
    for key in (1000, 1002, stores[-1]["id"]):
        store = next(store for store in stores if store["id"] == key)
        ask = lambda path, answer: step(
            f"{path} of {key}", ["call", f"test/stores/{key}", "document.get", "-"], {"path": path}, answer=answer)
        ask("$.location.lat", [store["location"]["lat"]])
        ask("$.services[1:4]", store["services"][1:4])
        ask("$['name','city']", [store["name"], store["city"]])
        ask("$.services[?search(@, 'Shop')]", [service for service in store["services"] if "Shop" in service])
        ask("$", [store])
    deep = max(categories, key=lambda category: len(category["path"]))
    step("names of a path", ["call", f"test/categories/text:{deep['id']}", "document.get", "-"],
         {"path": "$.path[*].name"}, answer=[part["name"] for part in deep["path"]])
    north = [store for store in stores if store["location"]["lat"] > 48]
    rows("document: filter and select", "stores", "document.query",
         {"filter": "@.location.lat > 48", "select": "$.name"},
         [{"key": store["id"], "selected": [store["name"]]} for store in north])
    rows("document: whole documents", "stores", "document.query", {"filter": "@.location.lat > 48"},
         [{"key": store["id"], "document": store} for store in north])
    aggregate("document: count", "stores", "document.count",
              {"filter": "@.type == 'BigBox' && length(@.services) > 9"},
              sum(store["type"] == "BigBox" and len(store["services"]) > 9 for store in stores))
    aggregate("document: count of all", "categories", "document.count", {}, len(categories))
    counts = {}
    for store in stores:
        for service in store["services"]:
            counts[service] = counts.get(service, 0) + 1
    text = lambda value: json.dumps(value, ensure_ascii=False).encode()
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], text(pair[0])))
    aggregate("document: distinct", "stores", "document.distinct", {"path": "$.services[*]"},
              {"values": [{"value": value, "count": count} for value, count in ordered], "complete": True})


def grouped(items, by):
    groups = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return groups


def scans(stores, categories):
    lat = lambda store: store["location"]["lat"]
    states = grouped(stores, lambda store: store["state"])
    table = []
    for state in sorted(states, key=lambda state: (-len(states[state]), state)):
        group = states[state]
        best = sorted(group, key=lambda store: (-lat(store), store["id"]))[:2]
        table.append({
            "state": state,
            "n": len(group),
            "ids": sum(store["id"] for store in group),
            "zips": {"distinct": len({store["zip"] for store in group}), "exact": True},
            "big": sum(store["type"] == "BigBox" for store in group),
            "avg": statistics.fmean(map(lat, group)),
            "south": min(map(lat, group)),
            "last": max(store["name"] for store in group),
            "p90": {"value": percentile(list(map(lat, group)), 90), "exact": True},
            "north": [{"key": store["id"], "value": lat(store)} for store in best],
        })
    aggregates = {
        "n": "count()", "ids": "sum(id)", "zips": "distinct(zip)", "big": "count_if(type == 'BigBox')",
        "avg": "avg(location.lat)", "south": "min(location.lat)", "last": "max(name)",
        "p90": "percentile(location.lat, 90)", "north": "top(location.lat, 2)",
    }
    query = {"group_by": ["state"], "aggregates": aggregates, "order": ["n desc", "state"]}
    whole = {"rows": table, "groups": len(states), "records": len(stores), "skipped": 0}
    aggregate("scan: by state", "stores", "scan.aggregate", query, whole)
    many = [row for row in table if row["n"] > 20]
    aggregate("scan: having and limit", "stores", "scan.aggregate", {**query, "having": "n > 20", "limit": 7},
              {**whole, "rows": many[:7]})
    lengths = grouped(stores, lambda store: (len(store["services"]), store["type"] == "BigBox"))
    aggregate("scan: by expressions", "stores", "scan.aggregate",
              {"group_by": {"services": "length(services)", "big": "type == 'BigBox'"}},
              {"rows": [{"services": key[0], "big": key[1], "count": len(lengths[key])} for key in sorted(lengths)],
               "groups": len(lengths), "records": len(stores), "skipped": 0})
    aggregate("scan: beyond the exact bounds", "categories", "scan.aggregate",
              {"aggregates": {"ids": "distinct(id)", "names": "distinct(name)", "long": "max(length(name))"}},
              {"rows": [{"ids": {"distinct": near(len({c["id"] for c in categories}), 0.05), "exact": False},
                         "names": {"distinct": near(len({c["name"] for c in categories} - {None}), 0.05), "exact": False},
                         "long": max(len(c["name"] or "") for c in categories)}],
               "groups": 1, "records": len(categories), "skipped": 0})
    for percent in (1, 50, 95, 99):
        aggregate(f"scan: percentile {percent}", "stores", "scan.aggregate",
                  {"aggregates": {"p": f"percentile(location.lat, {percent})"}},
                  {"rows": [{"p": {"value": between(list(map(lat, stores)), percent, 1), "exact": False}}],
                   "groups": 1, "records": len(stores), "skipped": 0})
    first = sorted(stores, key=lambda store: (store["state"], -lat(store), store["id"]))[:25]
    aggregate("scan: top", "stores", "scan.top",
              {"order": ["state", "location.lat desc"], "limit": 25, "project": {"id": "key()", "lat": "location.lat"}},
              {"rows": [{"id": store["id"], "lat": lat(store)} for store in first], "records": len(stores)})
    wanted = [store for store in stores
              if "Windows Store" in store["services"] and store["name"].lower().startswith("s")
              and store["state"] in ("CA", "MN", "TX") and store["location"]["lon"] < -93.5]
    rows("scan: select", "stores", "scan.select",
         {"where": "'Windows Store' in services and starts_with(lower(name), 's') and state in ['TX', 'CA', 'MN'] "
                   "and location.lon < -93.5",
          "project": {"key": "key()", "first": "services[0]", "last": "services[-1]", "twice": "id * 2"}},
         [{"key": s["id"], "first": s["services"][0], "last": s["services"][-1], "twice": s["id"] * 2} for s in wanted])


def near(number, share):
    return {"$between": [number * (1 - share), number * (1 + share)]}


def read_series(name):
    """Points by time; of a time that is there twice the later line counts."""
    points = {}
    with open(os.path.join(DATA, "timeseries", name + ".csv"), newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.datetime.fromisoformat(row["timestamp"]).replace(tzinfo=datetime.timezone.utc)
            points[int(at.timestamp()) * 1000] = float(row["value"])
    return points


def store_series(name, points):
    """Appends in order, but for every 97th point, which comes at the end: late."""
    place = f"test/{name}"
    ordered = sorted(points.items())
    late, early = ordered[::97], [point for number, point in enumerate(ordered) if number % 97]
    numbers = sorted({at // SPAN_MS for at in points})
    step(f"register {name}", ["call", f"{place}/{name}", "timeseries.register", "-"],
         {"span_ms": SPAN_MS, "blocks": numbers})
    for part in (early, late):
        for number in numbers:
            block = [list(point) for point in part if point[0] // SPAN_MS == number]
            for start in range(0, len(block), 1000):
                step(f"append to {name}", ["call", f"{place}/{name}@{number}", "timeseries.append", "-"],
                     {"block": number, "span_ms": SPAN_MS, "points": block[start:start + 1000]})
    for number in numbers:
        step(f"bytes of {name}", ["call", f"{place}/{name}@{number}", "timeseries.stored"], stored=name)


def work_out(function, inside):
    values = [value for _, value in inside]
    if function == "rate":
        seconds = (inside[-1][0] - inside[0][0]) / 1000
        rises = sum(b - a if b >= a else b for a, b in zip(values, values[1:]))
        return rises / seconds if seconds > 0 else None
    if function.startswith("p"):
        return percentile(values, float(function[1:]))
    return {"count": len, "sum": math.fsum, "min": min, "max": max, "avg": statistics.fmean,
            "stddev": statistics.pstdev, "first": lambda v: v[0], "last": lambda v: v[-1]}[function](values)


def fill_in(column, fill):
    known = [number for number, value in enumerate(column) if value is not None]
    filled = list(column)
    for number, value in enumerate(column):
        if value is not None:
            continue
        before = [k for k in known if k < number]
        behind = [k for k in known if k > number]
        if fill == "zero":
            filled[number] = 0.0
        elif fill == "previous" and before:
            filled[number] = column[before[-1]]
        elif fill == "linear" and before and behind:
            a, b = before[-1], behind[0]
            filled[number] = column[a] + (column[b] - column[a]) * (number - a) / (b - a)
    return filled


def windows(name, points, from_ms, to_ms, step_ms, functions, fill="none"):
    starts, counts, columns = [], [], [[] for _ in functions]
    for start in range(from_ms, to_ms, step_ms or to_ms - from_ms):
        end = min(start + (step_ms or to_ms - from_ms), to_ms)
        inside = [(at, points[at]) for at in sorted(points) if start <= at < end]
        if inside or fill != "none":
            starts.append(start)
            counts.append(len(inside))
            for column, function in zip(columns, functions):
                column.append(work_out(function, inside) if inside else None)
    answer = {"start_ms": starts, "count": counts, "columns": [
        {"name": function, "values": fill_in(column, fill)} for function, column in zip(functions, columns)]}
    asked = {"from_ms": from_ms, "to_ms": to_ms, "aggregates": functions, "fill": fill}
    if step_ms:
        asked["step_ms"] = step_ms
    aggregate(f"windows of {name}: {functions}, {step_ms}, {fill}", name, "timeseries.windows", asked, answer)


def series(name):
    points = read_series(name)
    store_series(name, points)
    first, last = min(points), max(points)
    day = first // DAY_MS * DAY_MS
    plain = ["count", "sum", "min", "max", "avg", "first", "last", "stddev"]
    windows(name, points, first, last + 1, None, plain + ["rate"])
    windows(name, points, day, day + 14 * DAY_MS, DAY_MS, plain + ["rate", "p0", "p50", "p90", "p99.9", "p100"])
    windows(name, points, day + 7_777_777, day + 9 * DAY_MS, 7 * 3_600_000, ["avg", "max", "rate"])
    for fill in ("null", "zero", "previous", "linear"):
        windows(name, points, first - 3_600_000, first + 12 * 3_600_000, 420_000, ["avg", "count"][:1], fill)
    for percent in (5, 50, 95):
        asked = {"from_ms": first, "to_ms": last + 1, "aggregates": [f"p{percent}"]}
        near_it = {"name": f"p{percent}", "values": [between(list(points.values()), percent, 2)]}
        aggregate(f"p{percent} of all of {name}", name, "timeseries.windows", asked,
                  {"start_ms": [first], "count": [len(points)], "columns": [near_it]})
    ordered = sorted(points)
    wanted = [at for at in ordered if first + DAY_MS <= at < first + 9 * DAY_MS]
    answer = lambda times, complete: {"times_ms": times, "values": [points[at] for at in times], "complete": complete}
    asked = {"from_ms": first + DAY_MS, "to_ms": first + 9 * DAY_MS}
    aggregate(f"range of {name}", name, "timeseries.range", asked, answer(wanted, True))
    aggregate(f"latest of {name}", name, "timeseries.range", {**asked, "limit": 10, "latest": True},
              answer(wanted[-10:], False))
    aggregate(f"all of {name}", name, "timeseries.range", {"from_ms": 0, "to_ms": 2**53}, answer(ordered, True))


def main():
    stores, categories = load("stores"), load("categories")
    documents(stores, categories)
    scans(stores, categories)
    for name in ("nyc_taxi", "exchange-2_cpc_results", "exchange-3_cpm_results", "ec2_cpu_utilization_24ae8d",
                 "elb_request_count_8c0756"):
        series(name)


main()
