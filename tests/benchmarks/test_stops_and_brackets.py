from benchmarks import brackets, regret_stop


def test_a_stop_is_false_where_the_whole_search_found_what_is_better_by_more_than_seeds_differ_by():
    common = {"family": "power", "rule": "stop: regret", "of": 1000, "reached": 60.0, "noise": 0.5}
    rows = [
        common | {"seed": 0, "worth": 59.7, "epochs": 400, "trials": 100, "stopped": True},
        common | {"seed": 1, "worth": 58.0, "epochs": 200, "trials": 60, "stopped": True},
        common | {"seed": 2, "worth": 60.0, "epochs": 1000, "trials": 400, "stopped": False},
    ]
    for rule in regret_stop.RULES:
        rows += [row | {"rule": rule} for row in rows[:3] if rule != "stop: regret"]
    text = regret_stop.render(rows, command="x")
    assert "| power | 3 | `stop: regret` | 2 | 80.0 | 1 | 0.40 | 0.60, 4.00 |" in text


def test_the_table_of_brackets_has_the_quartiles_of_the_regret():
    found = {("digits", seed, "reference"): {"target": 80.0, "median": 40.0} for seed in range(3)}
    for seed, worth in enumerate((60.0, 70.0, 80.0)):
        row = {"family": "digits", "seed": seed, "reached": None, "ended": [[300, worth, worth]], "epochs": 1080}
        found["digits", seed, "grace 3"] = row
    text = brackets.render(found, command="x")
    assert "| digits | grace 3 | 3 | 0 | 1.00 [1.00, 1.00] | 0.25 [0.12, 0.38] | 0.25 [0.12, 0.38] | 1 |" in text


def test_the_recorded_trainings_differ_by_more_than_nothing_between_seeds():
    assert 2 < regret_stop._noise_of_recorded() < 8
