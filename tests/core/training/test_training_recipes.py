"""Recipes: read from packages and files, checked, changed, chosen, printed; and the command that shows them."""

import dataclasses
import json
import subprocess
import sys

import pytest

from support import toy_training
from zoo_core.cli import main
from zoo_core.training import recipes
from zoo_core.training.recipes import Recipe, RecipeError


def test_every_key_takes_its_own_default():
    """Defaults hold to their own bounds and choices, and each key is explained in one line."""
    recipe = Recipe().with_settings({key: getattr(Recipe(), key) for key in Recipe.settable()})
    assert recipe == Recipe()
    assert recipe.changed() == {}
    for f in Recipe.settable().values():
        assert f.metadata["help"].endswith(".")
        assert "\n" not in f.metadata["help"]


def test_a_recipe_written_out_reads_as_the_same(tmp_path):
    recipe = Recipe("mine", "toys", 'say "hi" \\ \n', "here").with_settings(
        {"lr": 0.003, "lr_steps": [3, 5.5], "amp": True, "opt": "adamw", "norm_weight_decay": 0, "epochs": 7}
    )
    (tmp_path / "mine.toml").write_text(recipe.as_toml())
    again = recipes.read(tmp_path / "mine.toml", "toys")
    assert dataclasses.replace(again, file=None) == recipe


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("labelsmoothing=0.1", "a recipe has no key 'labelsmoothing'; did you mean 'label_smoothing'?"),
        ("lr", "write KEY=VALUE, as in lr=0.01, not 'lr'"),
        ("lr=fast", "lr must be a number, not 'fast'"),
        ("lr=true", "lr must be a number, not True"),
        ("lr=-1", "lr must be at least 0, not -1"),
        ("lr=nan", "lr must be finite, not nan"),
        ("epochs=1.5", "epochs must be a whole number, not 1.5"),
        ("epochs=0", "epochs must be at least 1, not 0"),
        ("momentum=2", "momentum must be between 0 and 1, not 2"),
        ("amp=yes", "amp must be true or false, not 'yes'"),
        ("opt=adamv", "opt must be one of 'sgd', 'sgd_nesterov', 'rmsprop', 'adam', 'adamw', not 'adamv'; 'adam'?"),
        ("scale=[0.1, 'a']", "scale must be a list of numbers, as in [0.1, 0.9], not [0.1, 'a']"),
        ("norm_weight_decay=small", "norm_weight_decay must be a number or none, not 'small'"),
    ],
)
def test_what_a_key_does_not_take(word, message):
    with pytest.raises(RecipeError) as caught:
        recipes.parse_settings([word])
    assert str(caught.value) == message


def test_settings_from_words():
    words = ["lr=1", "opt=adamw", "scale=[0.5, 1]", "norm_weight_decay=none", "amp=true", "label-smoothing=0.2"]
    assert recipes.parse_settings(words) == {
        "lr": 1.0,
        "opt": "adamw",
        "scale": (0.5, 1.0),
        "norm_weight_decay": None,
        "amp": True,
        "label_smoothing": 0.2,
    }


def test_a_recipe_at_fault_names_its_file(tmp_path):
    for text, message in (("lr =", "not valid TOML"), ("lrr = 1", "did you mean 'lr'"), ("models = 3", "models must")):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(RecipeError, match=f"bad.toml: .*{message}"):
            recipes.read(tmp_path / "bad.toml", "toys")


def test_which_recipe_is_chosen(toys, tmp_path):
    assert recipes.choose(None, "toys", "dimnet").name == "finetune"
    assert recipes.choose(None, "toys", "dimnet", from_scratch=True).name == "big"
    assert recipes.choose(None, "toys", "brightnet", from_scratch=True).name == "finetune"
    assert recipes.choose("big", "toys", "brightnet").lr == 0.2
    (tmp_path / "own.toml").write_text("lr = 3")
    assert recipes.choose(str(tmp_path / "own.toml"), "toys", "dimnet").lr == 3.0
    with pytest.raises(RecipeError, match="no recipe 'fintune' for the task toys; did you mean 'finetune'"):
        recipes.choose("fintune", "toys", "dimnet")
    with pytest.raises(RecipeError, match="no recipe for the task elsewhere"):
        recipes.choose(None, "elsewhere", "dimnet")


def test_the_command_lists_and_prints_recipes(toys, capsys):
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert "finetune" in out
    assert "Two epochs for toys" in out
    assert main(["recipes", "finetune", "--task", "toys"]) == 0
    assert capsys.readouterr().out.strip() == (toys.root / "recipes" / "finetune.toml").read_text().strip()
    assert main(["recipes", "big", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["lr"], found["lr_base_size"], found["models"], found["epochs"]) == (0.2, 64, ["dim*"], 10)
    assert main(["recipes", "bigg"]) == 1
    assert "did you mean 'big'" in capsys.readouterr().err
    assert main(["recipes", "--keys"]) == 0
    assert "label_smoothing" in capsys.readouterr().out
    assert main(["recipes", "--task", "nothing"]) == 1


def test_recipes_are_shown_without_torch(toys):
    code = "import sys; from zoo_core.cli import main; main(['recipes']); print('torch' in sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", code], env=toy_training.environment(toys), capture_output=True, text=True, check=True
    )
    assert finished.stdout.endswith("False\n")
