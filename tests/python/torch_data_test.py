"""Streams of samples as PyTorch loaders take them. One process that plays several ranks.

SPDX-License-Identifier: Apache-2.0
"""

import os
import pathlib
import subprocess
import types
import unittest

import torch
import torch.utils.data

import shoal
import shoal.torch

COUNT = 41


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return torch.tensor(index), torch.tensor(float(index * index))


def view(rank, size):
    return types.SimpleNamespace(rank=rank, size=size)


def loader(place, workers=0, **options):
    samples = shoal.Samples(COUNT, seed=9, **{"batch": 6, **options})
    return shoal.torch.StepLoader(Squares(), samples, place, num_workers=workers)


def numbers(batch):
    return [] if batch.data is None else batch.data[0].tolist()


class LoaderTest(unittest.TestCase):
    def check_data_epochs(self, workers):
        loaders = [loader(view(rank, 4), workers) for rank in range(4)]
        for epoch in range(2):
            taken = []
            self.assertEqual(len(loaders[0]), 7)
            for batches in zip(*loaders):
                self.assertAlmostEqual(sum(batch.weight for batch in batches), 1)
                for one, batch in zip(loaders, batches):
                    self.assertEqual((batch.data_epoch, batch.step), (epoch, one.samples.step))
                    self.assertEqual(len(numbers(batch)), batch.count)
                    taken += numbers(batch)
                    if batch.count:
                        self.assertTrue((batch.data[1] == batch.data[0] ** 2).all())
                for one in loaders:
                    one.commit()
            # zip() asked the first loader for one more and found the data epoch over.
            self.assertEqual(sorted(taken), list(range(COUNT)))

    def test_data_epochs(self):
        self.check_data_epochs(workers=0)

    def test_data_epochs_with_workers(self):
        self.check_data_epochs(workers=1)

    def test_a_step_that_is_not_committed_comes_again(self):
        one = loader(view(0, 2), workers=1)
        steps = iter(one)
        first = next(steps)
        self.assertIs(next(steps), first)
        one.commit()
        second = next(steps)
        self.assertEqual(second.step, 1)
        self.assertFalse(set(numbers(first)) & set(numbers(second)))

    def test_members_come_and_go(self):
        """Two ranks; one fails in its second step; a third joins with the saved position."""
        places = [view(0, 2), view(1, 2)]
        both = [loader(place, workers=1) for place in places]
        taken, steps = [], [iter(one) for one in both]
        for one, at in zip(both, steps):
            taken += numbers(next(at))
            one.commit()
        survivors = next(steps[0])
        lost = numbers(next(steps[1]))
        taken += numbers(survivors)
        both[0].commit([True, False])
        places[0].size = 1
        alone = next(steps[0])
        self.assertEqual(numbers(alone)[: len(lost)], lost)
        taken += numbers(alone)
        both[0].commit()
        joined = loader(view(1, 2))
        joined.load_state_dict(both[0].state_dict())
        places[0].size = 2
        for mine, theirs in zip(steps[0], joined):
            taken += numbers(mine) + numbers(theirs)
            both[0].commit()
            joined.commit()
        self.assertEqual(sorted(taken), list(range(COUNT)))

    def test_the_programs_random_numbers_are_left_alone(self):
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        next(iter(loader(view(0, 1))))
        self.assertTrue((torch.rand(3) == expected).all())

    def test_plain_data_loader(self):
        samples = shoal.Samples(COUNT, batch=6)
        sampler = shoal.torch.StepSampler(samples, view(0, 1))
        self.assertEqual(len(sampler), 7)
        taken = []
        for index, _ in torch.utils.data.DataLoader(Squares(), batch_sampler=sampler):
            taken += index.tolist()
            samples.commit(1)
        self.assertEqual(sorted(taken), list(range(COUNT)))


class Followed(shoal.Samples):
    """A stream as World.samples() makes it, of a world that the test plays."""

    def __init__(self, world):
        super().__init__(COUNT, batch=6, seed=9)
        self.world = world
        self.parties = None  # who is agreed on, where that is not the view

    def take(self):
        place = self.parties or self.world
        return self.assign(place.rank, place.size)


class WorldLoaderTest(unittest.TestCase):
    def play(self, workers):
        """Two members; the second is lost in the third step and replaced in the sixth."""
        world, other = view(0, 2), view(1, 2)
        mine, taken = Followed(world), []
        one = shoal.torch.WorldLoader(Squares(), mine, num_workers=workers)
        for step in range(14):
            if step == 6:
                world.size = 2
            batch = one.take()
            self.assertEqual(numbers(batch), mine.take().indices.tolist())
            self.assertEqual((batch.step, batch.count), (step, len(numbers(batch))))
            self.assertIs(one.take().data, batch.data)  # as after a step that was given up
            taken += numbers(batch)
            if step == 2:
                mine.commit(2, [True, False])
                # The next step's view is there, but who reads what was agreed on before.
                world.size, mine.parties = 1, view(0, 2)
            elif step == 3:
                mine.commit(2, [True, False])
                mine.parties = None
            else:
                size = mine.world.size
                if size == 2:
                    taken += mine.assign(other.rank, 2).indices.tolist()
                mine.commit(size)
            if mine.data_epoch == 1:
                break
        self.assertEqual(sorted(taken), list(range(COUNT)))

    def test_members_come_and_go(self):
        self.play(workers=0)

    def test_members_come_and_go_with_workers(self):
        self.play(workers=1)

    def test_a_world_of_one(self):
        program = pathlib.Path(os.environ["SHOAL_TEST_BUILD"]) / "tools" / "shoal"
        command = [str(program), "coordinator", "--listen", "127.0.0.1:0", "--memory"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as coordinator:
            address = coordinator.stderr.readline().split(" at ")[1].split(",")[0]
            with shoal.World(address, start=1, least=1) as world:
                samples, taken = world.samples(COUNT, batch=6, seed=9), []
                one = shoal.torch.WorldLoader(Squares(), samples, num_workers=1)
                while samples.data_epoch < 2:
                    with world.step() as step:
                        batch = one.take()
                        taken += numbers(batch)
                    self.assertTrue(step.committed)
                    self.assertEqual(step.samples, batch.count)
                self.assertEqual(world.view.position, 2 * COUNT)
                self.assertEqual(sorted(taken), sorted(2 * list(range(COUNT))))
                saved = samples.save()
            coordinator.kill()
        resumed = shoal.Samples(COUNT, batch=9, seed=9)
        resumed.restore(saved)
        self.assertEqual((resumed.data_epoch, resumed.step), (2, 14))


if __name__ == "__main__":
    unittest.main()
