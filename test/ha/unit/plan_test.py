"""Plans: the same for the same seed and number, all kinds in turn, all moments within their bounds."""
import unittest

import plan


def text(trial):
    return [trial.describe(), trial.hold, trial.load_seed] + [(strike.kind.name, strike.victim, strike.after, strike.number) for strike in trial.strikes]


class Plan(unittest.TestCase):
    def test_a_trial_follows_from_seed_and_number(self):
        for number in (1, 7, 50):
            assert text(plan.Trial('17', number)) == text(plan.Trial('17', number))
        assert text(plan.Trial('17', 1)) != text(plan.Trial('17', 2))
        assert [plan.kind_of('17', number) for number in range(1, 30)] != [plan.kind_of('18', number) for number in range(1, 30)]

    def test_every_round_has_every_kind(self):
        n = len(plan.KINDS)
        for start in (1, n + 1, 2 * n + 1):
            assert {plan.kind_of('x', number) for number in range(start, start + n)} == set(plan.KINDS)

    def test_moments_and_places_vary_within_bounds(self):
        trials = [plan.Trial('y', number) for number in range(1, 301)]
        assert {trial.etcd_leader for trial in trials} == {'victim', 'elsewhere'}
        for trial in trials:
            assert 0.5 <= trial.strikes[0].after <= 4 and 0 <= trial.hold <= 15
            assert len(trial.strikes) == (2 if trial.kind.name == 'double' else 1)
            assert all(0.2 <= strike.after <= 5 and strike.victim == 'other' for strike in trial.strikes[1:])

    def test_a_kind_can_be_asked_for(self):
        assert plan.Trial('z', 1, 'partition').kind.name == 'partition'
        assert set(plan.SMALL_SET + plan.FIRSTS + plan.SECONDS) <= set(plan.KINDS)
