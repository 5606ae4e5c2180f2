defmodule Mapp.Server do
  # Counts; what it does beside that is demo.erl's.
  # shutdown: :infinity, so that DEMO_STOP_MS alone says how long a stop takes.
  use GenServer, shutdown: :infinity

  def start_link(_), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)
  def get, do: GenServer.call(__MODULE__, :get)
  def bump, do: GenServer.call(__MODULE__, :bump, :infinity)
  def state, do: GenServer.call(__MODULE__, :state, :infinity)
  def sleep(ms), do: GenServer.cast(__MODULE__, {:sleep, ms})
  def ready, do: true

  def linger(ms) do
    spawn(fn ->
      Process.sleep(ms)
      :ok
    end)
  end

  @impl true
  def init(_) do
    :ok = :demo.init(:mapp)
    {:ok, {:v1, 0}}
  end

  @impl true
  def handle_call(:get, _from, state), do: {:reply, state, state}
  def handle_call(:state, _from, state), do: {:reply, Mapp.V1.show(state), state}
  def handle_call(:bump, _from, {:v1, n}), do: {:reply, n + 1, {:v1, n + 1}}

  @impl true
  def handle_cast({:sleep, ms}, state) do
    Process.sleep(ms)
    {:noreply, state}
  end

  @impl true
  def handle_info(message, state) do
    :demo.handle(:mapp, message)
    {:noreply, state}
  end

  @impl true
  def terminate(_reason, _state), do: :demo.terminate(:mapp)
end
