import pytest

from zoo_core.data import ClassFolders, DataError, match_labels, share, synset_ids

IMAGES = {".jpg", ".png"}


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folders_follow_the_labels_of_the_model_not_the_alphabet(tmp_path):
    make(tmp_path, "cat/2.jpg", "cat/1.jpg", "dog/deep/3.PNG", "dog/notes.txt", "dog/.hidden.jpg")
    data = ClassFolders(tmp_path, ["dog", "mouse", "cat"], IMAGES)
    expected = [("cat/1.jpg", 2), ("cat/2.jpg", 2), ("dog/deep/3.PNG", 0)]
    assert [(sample.name, sample.truth) for sample in data] == expected
    assert data[-1].files == (tmp_path / "dog" / "deep" / "3.PNG",)
    assert len(data[1:]) == 2
    with pytest.raises(IndexError):
        data[3]


def test_without_labels_the_folders_names_are_the_labels(tmp_path):
    make(tmp_path, "b/1.jpg", "a/1.jpg")
    data = ClassFolders(tmp_path, None, IMAGES)
    assert data.labels == ("a", "b")
    assert [sample.truth for sample in data] == [0, 1]


@pytest.mark.parametrize("name", ["T-shirt_top", "t-shirt  TOP", "T_SHIRT-TOP"])
def test_letter_case_spaces_dashes_and_underscores_do_not_matter(tmp_path, name):
    make(tmp_path, f"{name}/1.jpg")
    assert ClassFolders(tmp_path, ["bag", "T-shirt top"], IMAGES)[0].truth == 1


def test_an_exact_name_wins_over_those_that_are_like_it(tmp_path):
    assert match_labels(["a_b"], ["a b", "a_b"], tmp_path) == [1]
    with pytest.raises(DataError, match="several labels of the model are like: a-b"):
        match_labels(["a-b"], ["a b", "a_b"], tmp_path)


def test_a_mismatch_lists_both_sides_and_the_nearest(tmp_path):
    make(tmp_path, "cats/1.jpg", "dog/1.jpg")
    with pytest.raises(DataError) as raised:
        ClassFolders(tmp_path, ["cat", "dog", "horse"], IMAGES)
    message = str(raised.value)
    assert "does not know: cats" in message
    assert "not here: cat, horse" in message
    assert "is 'cats' the model's 'cat'?" in message


def test_two_folders_of_one_label_are_refused(tmp_path):
    make(tmp_path, "big cat/1.jpg", "big_cat/1.jpg")
    with pytest.raises(DataError, match="several classes stand for one label"):
        ClassFolders(tmp_path, ["big-cat"], IMAGES)


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_split_may_go_by_its_usual_names(tmp_path, name):
    make(tmp_path, "train/a/1.jpg", f"{name}/a/2.jpg")
    assert [sample.name for sample in ClassFolders(tmp_path, ["a"], IMAGES, "val")] == ["a/2.jpg"]


def test_a_split_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path):
    make(tmp_path, "train/a/1.jpg", "test/a/2.jpg")
    with pytest.raises(DataError, match=r"has no split 'val'; it has test, train"):
        ClassFolders(tmp_path, ["a"], IMAGES, "val")


def test_faults_of_layout(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        ClassFolders(tmp_path / "nowhere", ["a"], IMAGES)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="must be a folder"):
        ClassFolders(tmp_path / "file", ["a"], IMAGES)
    with pytest.raises(DataError, match="no folder of a class is here"):
        ClassFolders(tmp_path, ["a"], IMAGES)
    make(tmp_path, "a/1.jpg", "b/readme.txt", "c/readme.txt")
    with pytest.raises(DataError) as raised:
        ClassFolders(tmp_path, ["a", "b", "c"], IMAGES)
    assert [fault.path.name for fault in raised.value.faults] == ["b", "c"]


def test_imagenets_folders_follow_the_published_order(tmp_path):
    assert len(set(synset_ids())) == 1000
    make(tmp_path, "val/n02123045/1.jpg", "val/n01440764/1.jpg", "val/n15075141/1.jpg")
    labels = [str(index) for index in range(1000)]
    truths = [sample.truth for sample in ClassFolders(tmp_path, labels, IMAGES)]
    assert truths == [0, 281, 999]  # tench, tabby, toilet tissue
    make(tmp_path, "val/n00000001/1.jpg")
    with pytest.raises(DataError, match="not among ImageNet's 1000 classes: n00000001"):
        ClassFolders(tmp_path, labels, IMAGES)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 101, 200])
def test_shares_take_every_sample_exactly_once(world_size):
    taken = [index for rank in range(world_size) for index in share(101, rank, world_size)]
    assert sorted(taken) == list(range(101))
    lengths = [len(share(101, rank, world_size)) for rank in range(world_size)]
    assert max(lengths) - min(lengths) <= 1


def test_a_rank_outside_its_world_is_refused():
    with pytest.raises(ValueError, match=r"rank must lie in 0\.\.1"):
        share(10, 2, 2)
