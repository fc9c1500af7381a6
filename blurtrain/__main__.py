from blurtrain.cli import main

main()
