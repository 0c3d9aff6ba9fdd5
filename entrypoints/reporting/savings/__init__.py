"""What limits save and lose (RQ3): trials -> replays and real studies under limits -> tables -> sentences."""
