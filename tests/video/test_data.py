import pytest

from zoo_core.data import DataError
from zoo_video.data import open_video_data

LABELS = ("abseiling", "air drumming", "zumba")


def videos(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_folder_for_each_class(tmp_path):
    videos(tmp_path, "val/zumba/b.mp4", "val/air_drumming/a.AVI", "val/zumba/notes.txt")
    assert [(s.name, s.truth) for s in open_video_data(tmp_path, LABELS)] == [
        ("air_drumming/a.AVI", 1),
        ("zumba/b.mp4", 2),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "b.mp4,zumba\nin/a.mp4,abseiling\n",
        "file,label\nb.mp4,zumba\nin/a.mp4,Abseiling\n",
        "label,time,video\nzumba,1,b.mp4\nabseiling,2,in/a.mp4\n",
        'b.mp4, 2\n\n"in/a.mp4",0\n',
    ],
)
def test_a_csv_file_in_its_own_order(tmp_path, text):
    videos(tmp_path, "b.mp4", "in/a.mp4")
    (tmp_path / "val.csv").write_text(text)
    expected = [("b.mp4", 2), ("in/a.mp4", 0)]
    for folder in (tmp_path, tmp_path / "val.csv"):
        assert [(sample.name, sample.truth) for sample in open_video_data(folder, LABELS)] == expected


def test_faults_of_a_csv_file_name_their_lines(tmp_path):
    videos(tmp_path, "a.mp4")
    csv = tmp_path / "val.csv"
    csv.write_text("a.mp4,zumba\nnot_there.mp4,zumba\na.mp4,zumba\nalone\n")
    with pytest.raises(DataError) as raised:
        open_video_data(tmp_path, LABELS)
    assert [fault.line for fault in raised.value.faults] == [2, 3, 4]
    assert "in line 1 already" in str(raised.value)
    csv.write_text("a.mp4,zumbo\n")
    with pytest.raises(DataError, match="is 'zumbo' the model's 'zumba'"):
        open_video_data(tmp_path, LABELS)
    csv.write_text("file,label\n")
    with pytest.raises(DataError, match="names no video"):
        open_video_data(tmp_path, LABELS)
    csv.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        open_video_data(tmp_path, LABELS)
